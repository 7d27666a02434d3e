"""LLM judges of concepts (section 4.2.1, A.3, A.4.1): what they are asked, and what their ratings say.

Run folders in, a folder with a report out. Every answer is kept as soon as it is there.
"""
