"""The adapters for agent frameworks, each compared with its framework in a separate environment.

`FRAMEWORK.txt` pins the environment, and `contract_FRAMEWORK.py` runs in it.
"""
