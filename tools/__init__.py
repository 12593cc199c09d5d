"""What writes tables into documents and builds their site; nothing of it is shipped."""
