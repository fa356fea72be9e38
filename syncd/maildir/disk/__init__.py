"""Floor 3: roots and what lies in them: the only calls that touch files, and what makes them durable."""
