"""Where big things lie: stores of blobs, and trees of files over them."""
