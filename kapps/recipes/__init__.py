"""The runs that come with kapps, one a file, each with its command, its data and what it should reach.

`kapps train --list` shows them. What they measured lies beside them as `<name>.results.json` and `<name>.png`, written
by `kapps train <name> --seeds 5 --record` and never by hand.
"""
