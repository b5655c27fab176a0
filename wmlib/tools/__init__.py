"""What one does from a shell."""
