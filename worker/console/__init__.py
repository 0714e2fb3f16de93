"""The API process: what Trueup shows of itself over HTTP, and later what it is asked to do."""
