#!/usr/bin/env python3
"""Turn the commands that `make -n V=1` prints into a compilation database for editors and clang tools."""
import json
import os
import re
import sys

database = []
for line in sys.stdin:
    found = re.search(r"(?:^|&& )(\S*(?:gcc|clang\S*) .* -c (\S+\.[cS]) -o \S+)", line.strip())
    if found:
        database.append({"directory": os.getcwd(), "command": found[1], "file": found[2]})
json.dump(database, sys.stdout, indent=1)
