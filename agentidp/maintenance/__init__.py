"""What an operator does to a whole instance: check it, back it up, restore it."""
