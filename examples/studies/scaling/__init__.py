"""What keeps the driver of a large experiment busy, part by part."""
