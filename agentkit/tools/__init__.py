"""The built-in tools."""

from .files import edit_file, list_dir, read_file, write_file
from .search import glob, grep
from .shell import bash

TOOLS = (bash, read_file, write_file, edit_file, list_dir, glob, grep)
