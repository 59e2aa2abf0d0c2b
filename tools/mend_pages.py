"""Mend what nbdev's processing leaves in the processed notebooks: `python tools/mend_pages.py [FOLDER]` (default:
_proc), between nbdev_proc_nbs and quarto

nbdev turns names in backticks into links, also inside the code of a signature, where a link shows as its Markdown, and
for names that begin with _, which no page documents. Both become plain names again. A second run changes nothing."""
import json, re, sys
from pathlib import Path

root = Path(__file__).resolve().parent.parent
LINK = re.compile(r'\[(`[^`\n]+`)\]\(https://[^)\s]+\)')
PRIVATE = re.compile(r'\[(`_[^`\n]*`)\]\(https://[^)\s]+\)')
FENCED = re.compile(r'^```.*?^```\s*$', re.MULTILINE | re.DOTALL)

def mend(text): return PRIVATE.sub(r'\1', FENCED.sub(lambda match: LINK.sub(r'\1', match[0]), text))

def self_test():
    link = lambda name: f'[`{name}`](https://us.github.io/ours/audio.html#{name})'
    text = (f"See {link('load')}, {link('_read')}.\n\n```python\ndef f(\n    x, # As {link('load')} gives "
            f"it\n):\n```\n\n*Like {link('load')}*\n")
    assert (mend(text) == f"See {link('load')}, `_read`.\n\n```python\ndef f(\n    x, # As `load` gives "
            f"it\n):\n```\n\n*Like {link('load')}*\n")
    assert mend(mend(text)) == mend(text)

def mend_notebook(path):
    "Mend one processed notebook; returns whether there was something to mend"
    notebook, found = json.loads(path.read_text(encoding='utf-8')), False
    for cell in notebook['cells']:
        places = ([(cell, 'source')]*(cell['cell_type'] == 'markdown')
                  + [(o['data'], 'text/markdown') for o in cell.get('outputs', [])
                     if 'text/markdown' in o.get('data', {})])
        for holder, key in places:
            text = ''.join(holder[key] or '')
            if mend(text) != text: holder[key], found = mend(text), True
    if found: path.write_text(json.dumps(notebook, indent=1, ensure_ascii=False) + '\n', encoding='utf-8')
    return found

def main():
    self_test()
    paths = sorted((Path(sys.argv[1]) if len(sys.argv) > 1 else root/'_proc').rglob('*.ipynb'))
    if not paths: sys.exit('no processed notebooks: nbdev_proc_nbs makes them')
    print(f'{sum(map(mend_notebook, paths))} of {len(paths)} notebooks mended')

if __name__ == '__main__': main()
