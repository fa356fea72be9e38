"""Floor 3: the Maildir gateway: names, directories, files, and what changed in them.

Decision: a file is addressed by the unchanging part of its name, and where it is believed to be is only a guess.
Context: any program may rename any file at any moment. Cost: a wrong guess costs one listing of that mailbox.

Decision: inotify by its system calls, one directory at a time, and sweeps of directory mtimes where it cannot be had.
Context: watchfiles wakes up a hundred times a second to hear of a change soon, keeps to itself that the kernel dropped
some, and follows links out of the root. Cost: a new directory means a new watcher; an edit in place under sweeps waits
for the next full listing; another system than Linux has sweeps only.
"""
