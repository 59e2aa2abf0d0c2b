"""Build the documentation pages to look at and to check, without Quarto: `python tools/build_pages.py [--output FOLDER]
[--look FOLDER]`

This is the check build. The published pages are made by Quarto from the same processed notebooks, in
.github/workflows/docs.yml; here they get the same names, ids, navigation and styles.css in a plain frame of our own, so
that links, tables, pictures and sound can be looked at. --look takes a picture of each page in headless Chromium, as
wide as a desk and as a phone, and fails if a page is wider than the phone. Needs nbconvert (and playwright with a
Chromium for --look), which are not part of the extra `dev`."""
import argparse, html, importlib.util, json, os, re, shutil, sys
from pathlib import Path
import yaml

from check_links import page, slug
from mend_pages import mend_notebook
from tree import root, settings

sys.path.insert(0, str(root))

FRAME = """<!DOCTYPE html>
<html lang="en-GB"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><meta name="description" content="{description}">
<style>{colours}
body {{ margin: 0; font: 17px/1.5 "Source Sans Pro", "Segoe UI", system-ui, sans-serif; color: #343a40 }}
a {{ color: #2761e3 }} code, pre {{ font-family: ui-monospace, Menlo, monospace; font-size: 0.875em }}
header {{ background: #2780e3; padding: 0.6rem 1rem }} header a {{ color: white; text-decoration: none }}
footer {{ border-top: 1px solid #dee2e6; padding: 1rem; color: #6c757d; font-size: 0.9rem }}
.page {{ display: grid; grid-template-columns: 17rem minmax(0, 54rem); gap: 2rem; padding: 1rem }}
nav ul {{ list-style: none; padding-left: 0.8rem; margin: 0.2rem 0 }} nav a {{ text-decoration: none }}
nav b {{ font-size: 0.9rem }}
main pre {{ padding: 0.5rem; margin: 0.5rem 0 }} .sourceCode pre {{ background: #f7f7f7 }}
main :not(pre) > code {{ background: #f7f7f7; padding: 0.1em 0.2em }} table {{ border-collapse: collapse }}
th, td {{ border-bottom: 1px solid #dee2e6; text-align: left }}
.description {{ color: #6c757d }} .neighbours {{ display: flex; justify-content: space-between; margin: 2rem 0 }}
@media (max-width: 800px) {{ .page {{ display: block }} }}
@media (min-width: 801px) {{ nav summary {{ display: none }} }}
</style><link rel="stylesheet" href="{home}styles.css"></head>
<body><header><a href="{home}index.html"><b>{site}</b></a> &nbsp;
<small style="color: white">check build, not the published pages</small></header><div class="page"><nav>
<details open><summary>Contents</summary>{navigation}</details></nav>
<main class="content"><h1 id="{slug}">{title}</h1><p class="description">{description}</p>
{body}
<div class="neighbours">{neighbours}</div></main></div><footer>{footer}</footer>
<script>if (innerWidth < 801) document.querySelector('nav details').open = false</script></body></html>
"""

def markdown(text, pages, seen, here=''):
    "Markdown as HTML, with Pandoc's ids, and links to notebooks turned into links to pages"
    from nbconvert.filters.markdown_mistune import markdown2html_mistune
    # a link with attributes, as Pandoc knows it
    text = re.sub(r'\[([^\]\n]*)\]\(([^)\s]*)\)\{([^}\n]*)\}', r'<a href="\2" \3>\1</a>', text)
    text = re.sub(r'^:::.*$', '', text, flags=re.MULTILINE)
    made = markdown2html_mistune(text)
    def heading(match):
        name = slug(html.unescape(re.sub(r'<[^>]+>', '', match[2].replace('¶', ''))))
        seen[name] = seen.get(name, -1) + 1
        words = re.sub(r'<a class="anchor-link".*?</a>', '', match[2])
        return f'<h{match[1]} id="{name}{f"-{seen[name]}" if seen[name] else ""}">{words}</h{match[1]}>'
    made = re.sub(r'<h([1-6])[^>]*>(.*?)</h\1>', heading, made, flags=re.DOTALL)
    def target(match):
        found = pages.get(os.path.normpath(os.path.join(os.path.dirname(here), match[1])))
        return f'href="{os.path.relpath(found, os.path.dirname(here) or ".") if found else match[1]}'
    return re.sub(r'href="([\w./-]+\.ipynb)(?=["#])', target, made)

def output(out, pages, seen, here, bare):
    "An output with the classes that Quarto gives it; `bare` without a frame, as after `#| output: asis`"
    data = {kind: text if isinstance(text, str) else ''.join(text) for kind, text in out.get('data', {}).items()}
    if out['output_type'] == 'stream':
        return ('<div class="cell-output '
                f'cell-output-{out["name"]}"><pre><code>{html.escape("".join(out["text"]))}</code></pre></div>')
    if 'text/html' in data: inside = data['text/html']
    elif 'text/markdown' in data: inside = markdown(data['text/markdown'], pages, seen, here)
    elif kind := next((kind for kind in data if kind.startswith('image/') and kind != 'image/svg+xml'), None):
        inside = f'<p><img alt="" src="data:{kind};base64,{data[kind].strip()}"></p>'
    elif 'image/svg+xml' in data: inside = data['image/svg+xml']
    else: inside = f'<pre><code>{html.escape(data.get("text/plain", ""))}</code></pre>'
    return inside if bare else f'<div class="cell-output cell-output-display">{inside}</div>'

def code(cell, pages, seen, here):
    "A code cell and what it put out"
    from nbconvert.filters.highlight import Highlight2HTML
    lines = ''.join(cell['source']).splitlines()
    options = dict(match.groups() for line in lines if (match := re.match(r'#\|\s*([\w-]+):\s*(.*)', line)))
    if options.get('include') == 'false': return ''
    source = '\n'.join(line for line in lines if not line.startswith('#|')).strip()
    shown = (f'<div class="sourceCode">{Highlight2HTML()(source, language="ipython3")}</div>' if source
             and options.get('echo') != 'false' else '')
    outputs = ('' if options.get('output') == 'false'
               else ''.join(output(out, pages, seen, here, options.get('output') == 'asis')
                            for out in cell.get('outputs', [])))
    return f'<div class="cell">{shown}{outputs}</div>' if shown or outputs else ''

def sidebar(contents, titles, pages, here):
    "The navigation as a list"
    rows = []
    for item in contents:
        if isinstance(item, dict) and 'section' in item:
            rows.append(f'<li><b>{item["section"]}</b>{sidebar(item["contents"], titles, pages, here)}</li>')
            continue
        name, text = (item['href'], item['text']) if isinstance(item, dict) else (item, titles.get(item, item))
        address = os.path.relpath(pages[name], os.path.dirname(here) or '.')
        current = ' aria-current=page'*(name == here)
        rows.append(f'<li><a href="{address}"{current}>{html.escape(text)}</a></li>')
    return f'<ul>{"".join(rows)}</ul>'

def flat(contents):
    "Names of notebooks in the order of the sidebar"
    for item in contents:
        yield from flat(item['contents']) if isinstance(item,
                                                        dict) and 'section' in item else [item['href']
                if isinstance(item, dict) else item]

def build(processed, folder):
    "Write a page for each processed notebook; returns their paths"
    from pygments.formatters import HtmlFormatter
    website = yaml.safe_load((root/'_quarto.yml').read_text(encoding='utf-8'))['website']
    notebooks = {path.relative_to(processed).as_posix(): json.loads(path.read_text(encoding='utf-8'))
                 for path in sorted(processed.rglob('*.ipynb'))}
    heads = {name: yaml.safe_load(''.join(notebook['cells'][0]['source']).strip().strip('-'))
             for name, notebook in notebooks.items()}
    pages = {name: os.path.join(os.path.dirname(name), head['output-file']) for name, head in heads.items()}
    if wrong := [name for name in pages if pages[name] != page(name)]:
        sys.exit(f'nbdev gives the pages of {", ".join(wrong)} other names than tools/check_links.py takes them '
                 'to have')
    titles, order = {name: head['title'] for name, head in heads.items()}, list(flat(website['sidebar']['contents']))
    folder.mkdir(parents=True, exist_ok=True)
    shutil.copy(root/'nbs/styles.css', folder)
    for name, notebook in notebooks.items():
        seen = {slug(titles[name]): 0}
        parts = [markdown(''.join(cell['source']), pages, seen, name) if cell['cell_type'] == 'markdown'
                 else code(cell, pages, seen, name) for cell in notebook['cells'][1:] if cell['source']]
        place = order.index(name) if name in order else None
        beside = [(order[place + step], arrow) for step, arrow in ((-1, '← '), (1, ' →')) if place is not None
                  and 0 <= place + step < len(order)]
        links = [(os.path.relpath(pages[other], os.path.dirname(name) or '.'), html.escape(titles[other]), arrow)
                 for other, arrow in beside]
        neighbours = ''.join(f'<a href="{address}">{arrow + title if arrow[0] == "←" else title + arrow}</a>'
                             for address, title, arrow in links)
        footer = ' · '.join(markdown(text, pages, {}, name).strip().removeprefix('<p>').removesuffix('</p>')
                            for text in website.get('page-footer', {}).values())
        text = FRAME.format(home='../'*name.count('/'), title=html.escape(titles[name]),
                            description=html.escape(heads[name].get('description', '')), slug=slug(titles[name]),
                            site=settings(root)['title'], footer=footer, neighbours=neighbours,
                            navigation=sidebar(website['sidebar']['contents'], titles, pages, name),
                            body='\n'.join(filter(None, parts)),
                            colours=HtmlFormatter(style='friendly').get_style_defs('.highlight'))
        (folder/pages[name]).parent.mkdir(parents=True, exist_ok=True)
        (folder/pages[name]).write_text(text, encoding='utf-8')
    return [folder/file for file in pages.values()]

def look(files, folder):
    "Pictures of the pages; returns those that are wider than a phone"
    from playwright.sync_api import sync_playwright
    folder.mkdir(parents=True, exist_ok=True)
    wide = []
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=os.environ.get('CHROMIUM') or shutil.which('chromium'),
                                         args=['--no-sandbox', '--disable-gpu', '--disable-quic', '--no-first-run',
                                               '--disable-background-networking', '--disable-component-update',
                                               '--disable-sync'])
        for width in 1280, 390:
            view = browser.new_page(viewport=dict(width=width, height=900))
            view.route(re.compile('^https?:'), lambda route: route.abort())   # nothing outside is asked for
            for file in files:
                view.goto(file.resolve().as_uri())
                view.screenshot(path=folder/f'{file.stem}_{width}.png', full_page=True)
                excess = view.evaluate('document.documentElement.scrollWidth - innerWidth')
                if excess > 0: wide.append(f'{file.name}: {excess} pixels wider than a window of {width}')
        browser.close()
    return wide

def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--output', type=Path, default=root/'_proc/_pages',
                        help='folder for the pages (default: _proc/_pages, which git ignores)')
    parser.add_argument('--look', type=Path, help='folder for pictures of the pages')
    parser.add_argument('--pages', nargs='*', default=[], help='pages to look at, such as framing (default: all)')
    parser.add_argument('--processed', action='store_true',
                        help='take the processed notebooks that are in _proc already')
    args = parser.parse_args()
    if missing := [name for name in ('nbconvert', *['playwright']*bool(args.look))
                   if not importlib.util.find_spec(name)]:
        sys.exit(f"{' and '.join(missing)} not installed: pip install {' '.join(missing)}")
    if not args.processed:
        from nbdev.serve import proc_nbs
        os.chdir(root)
        proc_nbs('nbs', n_workers=0, force=True)
    for path in (root/'_proc').rglob('*.ipynb'): mend_notebook(path)
    files = build(root/'_proc', args.output)
    print(f'{len(files)} pages')
    if args.look and (wide := look([file for file in files if not args.pages or file.stem in args.pages], args.look)):
        sys.exit('\n'.join(wide))

if __name__ == '__main__': main()
