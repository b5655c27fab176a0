"""What a chapter shows: figures and interactive explorers."""
