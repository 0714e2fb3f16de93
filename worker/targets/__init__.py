"""Where entitlements are held: one module or package per vendor; its name is the `type` in trueup.yaml."""
