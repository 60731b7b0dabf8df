"""An experiment as one HTML page that needs no network: `contents(experiment)` is what it shows, `written` the page.

One file a section: each computes frozen data from what was read and draws charts of them; `document` lays them out.
The drawing is plotly's, whose JavaScript is embedded once. `plain(contents)` is the same data as JSON.
"""
