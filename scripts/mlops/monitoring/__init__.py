"""What an endpoint is asked, compared with what its model learned from."""
