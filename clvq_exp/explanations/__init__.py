"""Which word a prediction hangs on, the concept of that word, and what the concept holds."""
