"""What writes tables into documents; nothing of it is shipped."""
