"""Floor 6: what is shown of status, findings and progress: put into words and lines, fitted to a screen, and live."""
