"""What a batch came to: its results on disk, and out of them pages, views and files."""
