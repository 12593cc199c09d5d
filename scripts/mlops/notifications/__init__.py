"""Messages to a model's channels: their text, and that each is sent once."""
