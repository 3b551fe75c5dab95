"""The steps, oldest first; a step is never changed once released."""
