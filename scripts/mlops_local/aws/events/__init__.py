"""What happens by itself: events, alarms, mails, and the inbox that receives them."""
