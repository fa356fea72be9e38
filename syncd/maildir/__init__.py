"""Floor 3: the Maildir gateway: names, directories, files, and what changed in them.

Row: keywords, names, layout, failures, libc, files, root, marker, barrier, observe, perform, mounts, sweep, watch,
dovecot.

Decision: a file is addressed by the unchanging part of its name, and where it is believed to be is only a guess.
Context: any program may rename any file at any moment. Cost: a wrong guess costs one listing of that mailbox.

Decision: inotify by watchfiles, one directory at a time, and sweeps of directory mtimes instead of its polling.
Context: its recursion follows links out of the root, its polling examines every file. Cost: a new directory means
a new watcher; an edit in place under polling waits for the next full listing.
"""
