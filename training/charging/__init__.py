"""Smart charging: the environment, the policies, their training and what they are worth."""
