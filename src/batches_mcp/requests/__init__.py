"""What a batch is made of: requests read from where they are, checked, counted, and put into a body."""
