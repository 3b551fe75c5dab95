"""The promise behind a 250, tested by kill -9 and by pulling the plug."""
