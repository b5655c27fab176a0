"""The networks, and what the agent carries with it. Read these first."""
