# `make demo` shows Trueup at work and `make test` proves it; both install what they need first.

SHELL := /bin/sh
.DEFAULT_GOAL := help
# Where it is set, each of the many processes that tests start would compile everything anew, for two seconds.
unexport PYTHONDONTWRITEBYTECODE
.PHONY: help setup demo test e2e guards faults fleet check fmt lock bench secrets clean

help: ## list these targets
	@sed -n 's/^\([a-z0-9]*\):[^#]*## /\1\t/p' Makefile

setup: ## install everything for development into .venv
	@.ci/install dev

demo: ## show a reconciliation against local Okta, Looker and TeamCity servers
	@.ci/install runtime
	@.venv/bin/trueup demo

test: setup ## run every test but the long ones
	@.venv/bin/python -m pytest -n 3 --dist loadgroup --ignore tests/e2e

e2e: setup ## run the real commands, workers and servers together; some minutes
	@.venv/bin/python -m pytest -n 3 --dist loadgroup tests/e2e

guards: setup ## switch every guard off, and see its test turn red; some minutes
	@.venv/bin/python -m pytest -n 2 -m guards

faults: setup ## break every read in every way, and see nobody lose anything; some minutes
	@.venv/bin/python -m pytest -n 3 -m faults

fleet: setup ## kill processes at every boundary and in the middle of the schedule, a company of 2,000, every vendor switch; many minutes
	@.venv/bin/python -m pytest -m fleet

check: setup ## style, types and house rules
	@.venv/bin/ruff check .
	@.venv/bin/ruff format --check .
	@.venv/bin/mypy --strict
	@.venv/bin/python -m pytest tests/test_architecture.py

fmt: setup ## rewrite the code in the house style
	@.venv/bin/ruff check --fix .
	@.venv/bin/ruff format .

lock: ## resolve the ranges of pyproject.toml into the locked requirement files
	@.ci/lock

bench: setup ## measure, with the figures that docs quote
	@.venv/bin/python -m benchmarks

secrets: ## make the random passwords that compose.yaml wants, in ./secrets
	@.ci/make-secrets

clean: ## remove what the other targets made
	@rm -rf .venv .venv.lock build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	@find worker tasks migrations tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
