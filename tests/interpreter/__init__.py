"""What expressions mean, told a second time: a tree-walking interpreter, written from the language's page and not from
the compiler. It is naive on purpose. Where it and the compiled code differ, one of them is wrong.
"""
