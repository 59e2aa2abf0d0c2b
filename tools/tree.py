"What the tools of this folder know of the repository: where it is, its settings, its notebooks"
from configparser import ConfigParser
from pathlib import Path

root = Path(__file__).resolve().parent.parent

def settings(folder=root):
    "settings.ini as a dictionary"
    config = ConfigParser(interpolation=None, delimiters=['='])
    config.read(folder/'settings.ini', encoding='utf-8')
    return dict(config['DEFAULT'])

def notebooks(folder=root):
    """Notebooks below nbs/ (or another `nbs_path`), as nbdev takes them: nothing in files or folders whose name begins
    with _ or ."""
    nbs = folder/settings(folder)['nbs_path']
    return sorted(path for path in nbs.rglob('*.ipynb')
                  if not any(part.startswith(('_', '.')) for part in path.relative_to(nbs).parts))
