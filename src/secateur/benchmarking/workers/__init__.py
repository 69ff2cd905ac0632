"""What runs inside the engines' processes.

These files are started by path, by whatever Python an engine lives in, which need not have Secateur: they
import nothing but numpy, the standard library and their engine. An engine's file offers

- ``MODULES``: the modules it needs;
- ``prepare(source, folder, batch, threads)``: turns the source file into the engine's own, returns its path;
- ``configurations(threads)``: the settings among which the fastest is looked for, as words;
- ``load(path, inputs, configuration)``: a pair of functions. The first makes one inference over these inputs
  and nothing else: it is what is timed. The second turns what the first returned into a list of arrays.

Engines are imported by name with `import_module`: they publish no types, and most of them are absent where
the checks run.
"""
