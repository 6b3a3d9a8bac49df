"""What agentkit costs, against the barest program that does the same: `python -m tests.bench`, see __main__.py."""
