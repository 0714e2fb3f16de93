"""The vendors' contracts, cut to what we use, and the validator that holds every sandbox exchange against them."""
