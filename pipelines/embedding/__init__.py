"""Features of images, from a frozen network that ships with the package."""
