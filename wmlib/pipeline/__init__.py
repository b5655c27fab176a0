"""The recipes: from an empty folder to a scored agent."""
