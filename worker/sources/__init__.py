"""Where identities come from: one module or package per identity provider; its name is the `type` in trueup.yaml."""
