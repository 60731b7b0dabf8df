"""Windows of inner steps to be differentiated, by the library's engine and by its peers."""
