"""On PYTHONPATH, this adds $SEED_OFFSET to the seeds given to `torch.manual_seed` and `numpy.random.default_rng`, so
also to those of runs."""
import importlib.abc, importlib.machinery, os, sys

offset = int(os.environ.get('SEED_OFFSET', '0'))

def moved(function):
    "A function of a seed, called with another one"
    def call(seed=None, *args, **kwargs):
        if isinstance(seed, int): seed += offset
        elif isinstance(seed, (list, tuple)) and seed and isinstance(seed[0], int): seed = [seed[0] + offset, *seed[1:]]
        return function(*(() if seed is None else (seed,)), *args, **kwargs)
    return call

functions = {'torch': 'manual_seed', 'numpy.random': 'default_rng'}

class Mover(importlib.abc.MetaPathFinder):
    "Changes a module right after it was imported, so that nothing is imported that would not be"
    def find_spec(self, name, path, target=None):
        if name not in functions: return None
        spec = importlib.machinery.PathFinder.find_spec(name, path, target)
        execute = spec.loader.exec_module
        def execute_and_move(module):
            execute(module)
            setattr(module, functions[name], moved(getattr(module, functions[name])))
        spec.loader.exec_module = execute_and_move
        return spec

if offset: sys.meta_path.insert(0, Mover())
