"""Do links lead somewhere? `python tools/check_links.py` or `python tools/check_links.py --site FOLDER`

Without --site: every link and picture in notebooks, README.md and CONTRIBUTING.md, and the navigation in _quarto.yml,
whose sections the lists of all notebooks repeat in the same order. A page of the site is named after its notebook
without the number (`01_framing.ipynb` becomes `framing.html`), so one
notebook links to another by its relative path, `../01_framing.ipynb#heading`: that works in Jupyter and on GitHub, and
Quarto makes the page's address of it. External addresses are judged by their form only, and those of this repository by
git_url, branch and what is in the tree. With --site: the links of a folder of pages, as Quarto or tools/build_pages.py
writes it. First of all, dead links that are planted have to be found. Exit status 1 if there is a dead link."""
import argparse, ast, json, os, re, shutil, sys, tempfile
from html import unescape
from html.parser import HTMLParser
from itertools import zip_longest
from pathlib import Path
from urllib.parse import unquote, urlsplit
import yaml
from tree import notebooks, root, settings

TARGET = re.compile(r'\]\(\s*<?([^\s)>]+)|^\s{0,3}\[[^\]]+\]:\s*(\S+)|<(https?://[^\s>]+)>'
                    r'|<(?:a|img|source|audio|iframe)\b[^>]*?\s(?:href|src)=["\']([^"\']+)', re.MULTILINE)
CODE = re.compile(r'^ {0,3}(```+|~~~+).*?^ {0,3}\1\s*$|(?<!`)(`+)(?!`).*?(?<!`)\2(?!`)', re.MULTILINE | re.DOTALL)

def page(name):
    "The page of a notebook, as nbdev names it"
    folder, file = os.path.split(name)
    return os.path.join(folder, re.sub(r'^\d+[a-zA-Z0-9]*_', '', file.lower()).removesuffix('.ipynb') + '.html')

def links(text): return [unescape(next(filter(None, match))) for match in TARGET.findall(CODE.sub('', text))]

def slug(heading):
    "The id that Pandoc, and so Quarto, gives a heading: https://pandoc.org/MANUAL.html#extension-auto_identifiers"
    plain = re.sub(r'\{#([^}\s]+)[^}]*\}\s*$|!?\[([^\]]*)\]\([^)]*\)|[`*]', lambda m: m[2] or '', heading)
    kept = re.sub(r'[^\w\s.-]', '', plain).strip().lower()
    return re.sub(r'^[^a-z]+', '', re.sub(r'\s+', '-', kept)) or 'section'

def headings(text):
    "Ids of the headings of a text, a second one of the same name with -1, as Pandoc, GitHub and nbconvert have it"
    seen = {}
    for line in re.findall(r'^#{1,6}\s+(.+?)\s*#*$', CODE.sub(lambda m: '' if m[1] else m[0], text), re.MULTILINE):
        if given := re.search(r'\{#([^}\s]+)', line): yield given[1]; continue
        name = slug(line)
        yield name if name not in seen else f'{name}-{seen[name]}'
        seen[name] = seen.get(name, 0) + 1

def hidden(cell):
    return cell['cell_type'] == 'code' and re.search(r'^#\|\s*(hide|export|exporti|default_exp)\b',
                                                     ''.join(cell['source']), re.MULTILINE)

def texts(notebook):
    "(cell id, text) of all that a reader sees as Markdown or HTML"
    for cell in notebook['cells']:
        if cell['cell_type'] == 'markdown': yield cell['id'], ''.join(cell['source'])
        elif not hidden(cell):
            for output in cell.get('outputs', []):
                data = output.get('data', {})
                if 'text/markdown' in data or 'text/html' in data:
                    yield cell['id'], ''.join(data.get('text/markdown') or data['text/html'])

def contents(text, name):
    "Sections and notebooks of a list in notebook `name`: a table, or headings of level 3 with items"
    for line in text.splitlines():
        if section := re.match(r'### (.+)|\| (\w[^|]*) \|', line): yield section[1] or section[2]
        if line.startswith(('- ', '| ')):
            yield from (os.path.normpath(os.path.join(os.path.dirname(name), link)) for link in links(line))

def definitions(notebook):
    "What nbdev documents with a heading: functions, classes and patched methods of exported cells, in lower case"
    for cell in notebook['cells']:
        source = ''.join(cell['source'])
        if cell['cell_type'] != 'code' or not re.search(r'^#\|\s*exports?\b', source, re.MULTILINE): continue
        for node in ast.parse(re.sub(r'^[%!].*$', '', source, flags=re.MULTILINE)).body:
            if not isinstance(node, (ast.FunctionDef, ast.ClassDef)): continue
            owner = node.args.args[0].annotation if any('patch' in ast.unparse(o)
                                                        for o in node.decorator_list) and node.args.args else None
            yield f'{owner.id}.{node.name}'.lower() if isinstance(owner, ast.Name) else node.name.lower()

class Tree:
    "A repository: its notebooks, the pages they become, and what can be linked to"
    def __init__(self, folder):
        self.folder, self.config = folder, settings(folder)
        self.nbs = folder/self.config['nbs_path']
        self.notebooks = {path.relative_to(self.nbs).as_posix(): json.loads(path.read_text(encoding='utf-8'))
                          for path in notebooks(folder)}
        self.pages = {}
        for name in self.notebooks: self.pages.setdefault(page(name), name)

    def anchors(self, name):
        "Ids on the page of a notebook"
        notebook = self.notebooks[name]
        return {*headings('\n\n'.join(text for _, text in texts(notebook))), *definitions(notebook)}

    def external(self, link):
        "What is wrong with an address elsewhere; None if nothing is"
        parts, ours = urlsplit(link), self.config['git_url']
        if parts.scheme == 'mailto': return
        if parts.scheme != 'https' or '.' not in parts.netloc: return 'is no https address'
        repository = '/' + urlsplit(ours).path.strip('/') + '/'
        if link.startswith(ours + '/') or link == ours: inside = link.removeprefix(ours).strip('/')
        elif parts.netloc == 'colab.research.google.com' and parts.path.startswith('/github/'):
            if not parts.path.startswith('/github' + repository): return f'opens another repository than {ours}'
            inside = parts.path.removeprefix('/github' + repository)
        elif parts.netloc.endswith('github.com') and parts.path.rstrip('/').endswith('/' + self.config['repo']):
            return f'is another repository than {ours}'
        elif link.startswith(home := self.config['doc_host'] + self.config['doc_baseurl']):
            name = parts.path.removeprefix(self.config['doc_baseurl']).strip('/') or 'index.html'
            if name not in self.pages: return f'is no page of {home}'
            return (f'#{parts.fragment} is not on that page' if parts.fragment
                    and parts.fragment not in self.anchors(self.pages[name]) else None)
        else: return
        kind, _, rest = inside.partition('/')
        if kind not in ('blob', 'tree', 'raw'): return
        if not rest.startswith(self.config['branch'] + '/'): return f"is not on the branch {self.config['branch']}"
        if not (self.folder/rest.removeprefix(self.config['branch'] + '/')).exists(): return 'is not in the repository'

    def inside(self, link, name):
        "What is wrong with a link of notebook `name`"
        path, _, anchor = unquote(link).partition('#')
        if not path: return None if anchor in self.anchors(name) else 'is no heading of this notebook'
        path = os.path.normpath(os.path.join(os.path.dirname(name), path))
        if path in self.notebooks:
            return f'#{anchor} is no heading there' if anchor and anchor not in self.anchors(path) else None
        if path in self.pages: return f'is a page of the site, and no file in Jupyter: link to {self.pages[path]}'
        if not (self.nbs/path).exists(): return 'does not exist'
        if path.startswith('..'):
            return f"is not on the site: write {self.config['git_url']}/blob/{self.config['branch']}/..."

    def in_file(self, link, path):
        "What is wrong with a link of a Markdown file"
        target, _, anchor = unquote(link).partition('#')
        found = (path.parent/target) if target else path
        if target.startswith('/') or not found.exists(): return 'does not exist'
        if anchor and found.suffix == '.md' and anchor not in set(headings(found.read_text(encoding='utf-8'))):
            return f'#{anchor} is no heading there'

    def judge(self, link, look, where):
        if link.startswith(('data:', 'attachment:')): return
        return self.external(link) if urlsplit(link).scheme else look(link, where)

    def dead(self):
        "(where, link, what is wrong)"
        for name, notebook in self.notebooks.items():
            if self.pages[page(name)] != name:
                yield f'nbs/{name}', page(name), f'is the page of {self.pages[page(name)]}, too'
            for id, text in texts(notebook):
                for link in links(text):
                    if problem := self.judge(link, self.inside, name): yield f'nbs/{name} cell {id}', link, problem
        for name in 'README.md', 'CONTRIBUTING.md':
            if not (path := self.folder/name).exists(): continue
            for link in links(path.read_text(encoding='utf-8')):
                if problem := self.judge(link, self.in_file, path): yield name, link, problem
        yield from self.navigation()
        yield from self.lists()

    def lists(self):
        "The lists of all notebooks have the sections and the order of the sidebar"
        if not (path := self.folder/'_quarto.yml').exists(): return
        sidebar = yaml.safe_load(path.read_text(encoding='utf-8'))['website']['sidebar']['contents']
        expected = [o for item in sidebar if 'section' in item for o in (item['section'], *item['contents'])]
        for name, heading in ('index.ipynb', '## Documentation'), ('tutorials/user_guide.ipynb', '## All notebooks'):
            for id, text in texts(self.notebooks.get(name, dict(cells=[]))):
                _, found, after = text.partition(heading + '\n')
                for one, other in zip_longest(contents(after.split('\n## ')[0], name), expected) if found else ():
                    if one == other: continue
                    expected = f'stands where _quarto.yml has {other or "its end"}'
                    yield f'nbs/{name} cell {id}', one or 'the end', expected
                    break

    def navigation(self):
        "The same for _quarto.yml: the sidebar has every notebook once, and the rest leads somewhere"
        if not (path := self.folder/'_quarto.yml').exists(): return
        site = yaml.safe_load(path.read_text(encoding='utf-8')).get('website', {})
        listed = []
        for place, item in walk(site):
            if not isinstance(item, str): continue
            targets = (links(item) if place[-1] in ('left', 'center', 'right') else [item] if item.endswith('.ipynb')
                       or place[-1] == 'href' else [])
            for target in targets:
                if 'sidebar' in place: listed.append(target)
                if problem := self.judge(target, self.inside, 'index.ipynb'):
                    yield f"_quarto.yml {'.'.join(map(str, place))}", target, problem
        if not listed: return
        for name in self.notebooks:
            if listed.count(name) != 1:
                yield '_quarto.yml sidebar', name, f'stands there {listed.count(name)} times, not once'

def walk(value, place=()):
    "(keys on the way, leaf) of nested dictionaries and lists"
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else None
    if items is None: yield tuple(key for key in place), value
    else:
        for key, item in items: yield from walk(item, (*place, key))

class Page(HTMLParser):
    "Links and ids of a page"
    def __init__(self, text):
        super().__init__()
        self.links, self.ids = [], {'', 'top'}
        self.feed(text)
    def handle_starttag(self, tag, attributes):
        attributes = dict(attributes)
        self.ids |= {attributes[key] for key in ('id', 'name') if attributes.get(key)}
        self.links += [attributes[key] for key in ('href', 'src') if attributes.get(key)]

def dead_on_site(folder, config):
    "(page, link, what is wrong) for the links of a folder of pages; addresses of the site itself are looked up in it"
    pages = {path.relative_to(folder).as_posix(): Page(path.read_text(encoding='utf-8'))
             for path in sorted(folder.rglob('*.html'))}
    if not pages: yield str(folder), '', 'holds no page'
    home = config['doc_host'] + config['doc_baseurl'] + '/'
    for name, content in pages.items():
        for link in content.links:
            here = urlsplit(link.removeprefix(home)) if link.startswith(home) else urlsplit(link)
            if here.scheme or here.netloc: continue
            base = '' if link.startswith(home) else os.path.dirname(name)
            target = os.path.normpath(os.path.join(base, unquote(here.path))) if here.path else name
            if (folder/target).is_dir(): target = os.path.normpath(f'{target}/index.html')
            if target not in pages and not (folder/target).is_file(): yield name, link, 'does not exist'
            elif target in pages and unquote(here.fragment) not in pages[target].ids:
                yield name, link, f'#{here.fragment} is not on {target}'

def self_test():
    "Every kind of dead link must be found, and no link that is alive"
    cell = lambda id, source, **rest: dict(cell_type='markdown', id=id, source=[source]) | rest
    good = ['[a](02_two.ipynb)', '[a](02_two.ipynb#a-heading-of-its-own)', '[a](02_two.ipynb#measure)',
            '[a](02_two.ipynb#model.run)', '[a](#here)', '![a](picture.png)', '`[a](code.html)`',
            '```\n[a](code.html)\n```',
            '[a](https://example.org/x)', '[![b](https://colab.research.google.com/badge.svg)](https://colab.research.google.com/github/us/ours/blob/main/nbs/02_two.ipynb)',
            '[a](https://github.com/us/ours/blob/main/README.md)', '[a](https://us.github.io/ours/two.html#measure)',
            '![a](data:image/png;base64,AA)']
    bad = ['[a](03_three.ipynb)', '[a](02_two.html)', '[a](two.html)', '[a](02_two.ipynb#nothing)', '[a](#nothing)',
           '![a](nothing.png)', '<img src="nothing.png">', '[a](../README.md)', '[a](http://example.org)',
           '[a](ftp://example.org/x)',
           '[a](https://github.com/them/ours)',
           '[a](https://colab.research.google.com/github/them/ours/blob/main/nbs/02_two.ipynb)',
           '[a](https://colab.research.google.com/github/us/ours/blob/main/nbs/03_three.ipynb)',
           '[a](https://github.com/us/ours/blob/main/nothing.md)',
           '[a](https://github.com/us/ours/blob/other/README.md)', '[a](https://us.github.io/ours/02_two.html)',
           '[r]: nothing.md']
    two = [cell('c', '# Two\n\n## A heading, of its *own*'),
           dict(cell_type='code', id='d', source=['#| export\ndef measure(): pass\n@patch\ndef run(self:Model): pass'],
                outputs=[])]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        (folder/'nbs').mkdir()
        (folder/'settings.ini').write_text('[DEFAULT]\nrepo = ours\nnbs_path = nbs\nbranch = main\ngit_url = '
                                           'https://github.com/us/ours\ndoc_host = https://us.github.io\ndoc_baseurl = '
                                           '/ours\n')
        (folder/'nbs/picture.png').touch()
        (folder/'nbs/02_two.ipynb').write_text(json.dumps(dict(cells=two)))
        def found(link, readme='# Ours\n\n[a](nbs/02_two.ipynb) [a](#ours)',
                  sidebar=('01_one.ipynb', {'text': 'Two', 'href': '02_two.ipynb'})):
            (folder/'README.md').write_text(readme)
            (folder/'_quarto.yml').write_text(yaml.dump(dict(website=dict(sidebar=dict(contents=[dict(section='All',
                    contents=list(sidebar))])))))
            (folder/'nbs/01_one.ipynb').write_text(json.dumps(dict(cells=[cell('a', '# One\n\n## Here'),
                    cell('b', link)])))
            return list(Tree(folder).dead())
        for link in good: assert not found(link), f'alive, but reported: {found(link)}'
        for link in bad:
            assert [where for where, *_ in found(link)] == ['nbs/01_one.ipynb cell b'], f'not found: {link}'
        assert (found('', readme='[a](nbs/01_one.html)') and found('', readme='[a](#nothing)')
                and found('', readme='[a](02_two.ipynb)'))
        assert (found('', sidebar=['01_one.ipynb'])
                and found('', sidebar=['01_one.ipynb', '02_two.ipynb', '03_three.ipynb'])
                and found('', sidebar=['01_one.ipynb', '02_two.ipynb', '02_two.ipynb']))
        (folder/'nbs/more').mkdir()
        for link, alive in {'[a](../02_two.ipynb#measure)': True, '![a](../picture.png)': True,
                            '[a](02_two.ipynb)': False, '[a](../nothing.ipynb)': False}.items():
            (folder/'nbs/more/three.ipynb').write_text(json.dumps(dict(cells=[cell('e', '# Three'), cell('f', link)])))
            assert alive != bool(found('', sidebar=['01_one.ipynb', '02_two.ipynb',
                                                    'more/three.ipynb'])), f'judged wrongly in a folder: {link}'
        shutil.rmtree(folder/'nbs/more')
        for table, alike in {'| All | [a](01_one.ipynb), [b](02_two.ipynb) |': True,
                             '### All\n\n- [a](01_one.ipynb)\n- [b](02_two.ipynb): it': True,
                             '| All | [b](02_two.ipynb), [a](01_one.ipynb) |': False,
                             '| Some | [a](01_one.ipynb), [b](02_two.ipynb) |': False,
                             '| All | [a](01_one.ipynb) |': False}.items():
            text = f'## Documentation\n\n| | |\n|---|---|\n{table}\n\n## More\n\n- [a](01_one.ipynb)'
            (folder/'nbs/index.ipynb').write_text(json.dumps(dict(cells=[cell('g', text)])))
            (folder/'_quarto.yml').write_text(yaml.dump(dict(website=dict(sidebar=dict(contents=[dict(href='index.ipynb'),
                    dict(section='All', contents=['01_one.ipynb', '02_two.ipynb'])])))))
            (folder/'nbs/01_one.ipynb').write_text(json.dumps(dict(cells=[cell('a', '# One\n\n## Here')])))
            (folder/'README.md').write_text('')
            assert alike != bool(list(Tree(folder).dead())), f'judged wrongly: {table}'
        (folder/'nbs/index.ipynb').unlink()
        (folder/'index.html').write_text('<a href="two.html#x">a</a><a '
                                         'href="https://us.github.io/ours/two.html">a</a><a href="#">a</a><img '
                                         'src="nbs/picture.png"><a href="https://example.org">a</a>')
        (folder/'two.html').write_text('<h1 id="x">Two</h1>')
        assert not list(dead_on_site(folder, settings(folder))), list(dead_on_site(folder, settings(folder)))
        for link in 'three.html', 'two.html#nothing', '#nothing', 'https://us.github.io/ours/three.html':
            (folder/'two.html').write_text(f'<h1 id="x">Two</h1><a href="{link}">a</a>')
            assert len(list(dead_on_site(folder, settings(folder)))) == 1, f'not found: {link}'

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--site', type=Path, help='look at the pages in this folder instead')
    args = parser.parse_args()
    self_test()
    dead = sorted(set(dead_on_site(args.site, settings(root)) if args.site else Tree(root).dead()))
    for where, link, problem in dead: print(f'{where}: {link} {problem}')
    if dead: sys.exit(f'{len(dead)} dead links')
    print('all links lead somewhere')

if __name__ == '__main__': main()
