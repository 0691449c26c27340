/* report_style.c - how the page looks: light, dark, on paper.
 *
 * Series are told apart by colour, marker and dashes. The colours are Okabe and Ito's, which people
 * with any kind of colour vision can tell apart, darkened for white paper and lightened for dark
 * screens; their yellow gave way to the colour of the text. */
#include "run/report_parts.h"

static const char colours[] =
    ":root{color-scheme:light dark;--ink:#1c2128;--soft:#5a6472;--line:#c9d0d8;--grid:#e6eaee;"
    "--page:#fff;--panel:#f5f7f9;--warn:#b35900;"
    "--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#b8548f;--c4:#d99000;--c5:#56b4e9;--c6:#1c2128}\n"
    "@media (prefers-color-scheme:dark){:root{--ink:#e4e8ed;--soft:#9aa5b1;--line:#46505c;"
    "--grid:#2b323b;--page:#15191e;--panel:#1d2228;--warn:#ffb05c;"
    "--c0:#4ba3e3;--c1:#ff8540;--c2:#2cc79c;--c3:#e79bc6;--c4:#f0c052;--c5:#a3dcff;"
    "--c6:#e4e8ed}}\n";

static const char page[] =
    "body{margin:0;background:var(--page);color:var(--ink);"
    "font:15px/1.5 system-ui,-apple-system,\"Segoe UI\",Roboto,\"DejaVu Sans\",sans-serif}\n"
    "main{max-width:1240px;margin:0 auto;padding:28px 24px 48px}\n"
    "h1{font-size:26px;margin:0 0 4px;overflow-wrap:anywhere}h2{font-size:18px;margin:32px 0 10px}"
    "h3{font-size:15px;margin:0 0 6px}\n"
    ".lead{font-size:17px;margin:0;color:var(--soft)}.lead strong{color:var(--ink)}\n"
    "small,footer,figcaption,.none{color:var(--soft);font-size:12.5px}td small,th "
    "small{font-size:88%}\n"
    ".notes,.shows{margin:22px 0;padding:4px 18px 12px;background:var(--panel);"
    "border-left:4px solid var(--warn)}.shows{border-color:var(--c0)}"
    ".notes h2,.shows h2{margin:10px 0 4px}.notes ul,.shows ul{margin:0;padding-left:18px}"
    ".notes li,.shows li{overflow-wrap:anywhere;margin:3px 0}\n"
    "@media (max-width:600px){main{padding:16px 14px 32px}h1{font-size:22px}}\n"
    "code{font-size:12.5px;overflow-wrap:anywhere}\n"
    "pre{font-size:12.5px;background:var(--panel);padding:12px;overflow-x:auto}\n"
    "summary{cursor:pointer}summary small{overflow-wrap:anywhere}\n"
    "footer{margin-top:36px;border-top:1px solid var(--line);padding-top:10px;"
    "overflow-wrap:anywhere}\n";

static const char tables[] =
    ".wide{overflow-x:auto;margin-bottom:22px}"
    "table{border-collapse:collapse;font-variant-numeric:tabular-nums;font-size:14px}\n"
    "th,td{text-align:left;vertical-align:top;padding:4px 14px 4px 0;"
    "border-bottom:1px solid var(--grid)}"
    "thead th{border-bottom:2px solid var(--line);min-width:96px;overflow-wrap:anywhere}"
    "thead td{border-bottom:2px solid var(--line)}\n"
    "tbody th{font-weight:400;min-width:150px}td{min-width:96px}"
    ".part th{padding-top:16px;font-weight:600;border-bottom:1px solid var(--line)}"
    ".part span{position:sticky;left:0}.num tbody th small{white-space:nowrap}"
    ".num td{text-align:right;white-space:nowrap;min-width:0}"
    ".num thead th{vertical-align:bottom}.num thead "
    "th+th{text-align:right;overflow-wrap:normal;min-width:64px}"
    ".num td small,.num thead "
    "small{display:block;white-space:normal;color:var(--soft);font-weight:400}"
    ".num td em{display:block;font-size:88%}"
    ".num tbody th[scope],.num thead th:first-child{position:sticky;left:0;z-index:1;"
    "background:var(--page);min-width:min(190px,38vw);max-width:38vw;overflow-wrap:anywhere}"
    ".runs{table-layout:fixed;width:100%}.runs td{min-width:0;overflow-wrap:anywhere}"
    "em{color:var(--warn);font-style:normal;font-weight:400}\n";

static const char figures[] =
    ".figures{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(340px,100%),1fr));"
    "gap:3px 28px}figure{margin:0 0 26px;min-width:0;display:grid;grid-row:span 4;"
    "grid-template-rows:subgrid;row-gap:3px}.many{grid-column:1/-1;grid-row:auto;display:block}"
    ".many.even .panels{grid-template-columns:repeat(auto-fit,minmax(min(420px,100%),1fr))}"
    ".panels{display:grid;grid-template-columns:repeat(auto-fit,minmax(min(320px,100%),1fr));"
    "gap:12px 28px}.panel{min-width:0;break-inside:avoid}"
    "figure h3{margin:0 0 2px}h4{font-size:13.5px;font-weight:600;margin:4px 0 2px}"
    ".panel p{margin:2px 0 0;font-size:13px;overflow-wrap:anywhere}figcaption{margin-top:3px}\n"
    ".legend{list-style:none;margin:0 0 4px;padding:0;display:flex;flex-wrap:wrap;gap:0 16px;"
    "font-size:13px}.legend li{overflow-wrap:anywhere}\n"
    ".key{width:30px;height:12px;margin-right:6px;vertical-align:-1px}\n"
    ".chart{display:block;width:100%;max-width:560px;height:auto;font-size:12.5px;"
    "font-variant-numeric:tabular-nums}\n"
    ".tick{fill:var(--soft)}.label,.name{fill:var(--ink)}"
    ".mid{text-anchor:middle}.end{text-anchor:end}\n"
    ".axis{fill:none;stroke:var(--soft)}.grid{fill:none;stroke:var(--grid)}"
    ".limit{fill:none;stroke:var(--warn);stroke-dasharray:5 4}\n"
    ".line{fill:none;stroke:var(--c);stroke-width:1.8;stroke-linejoin:round}"
    ".guide{fill:none;stroke:var(--soft);stroke-dasharray:2 4;stroke-width:1.4}"
    ".mark{fill:var(--c);stroke:var(--page);stroke-width:.6}.band{fill:var(--c);fill-opacity:.16}"
    ".bar{fill:var(--c)}"
    ".steps{fill:none;stroke:var(--c);stroke-width:1.8}.alone{fill:var(--c);fill-opacity:.15}\n";

static const char paper[] =
    "@media print{:root{color-scheme:light;--ink:#000;--soft:#444;--line:#999;--grid:#ddd;"
    "--page:#fff;--panel:#f5f7f9;--warn:#b35900;--c0:#0072b2;--c1:#d55e00;--c2:#009e73;"
    "--c3:#b8548f;--c4:#d99000;--c5:#56b4e9;--c6:#000}"
    "body{font-size:11pt}main{max-width:none;padding:0}.wide{overflow:visible}"
    "table{font-size:8.5pt}th,td{padding-right:8px;min-width:0}tr{break-inside:avoid}"
    ".runs{min-width:0!important;max-width:none!important}.figures,.panels{grid-template-columns:"
    "1fr 1fr}figure{break-inside:avoid}h2{break-after:avoid}"
    "*{print-color-adjust:exact;-webkit-print-color-adjust:exact}}\n";

void tg_report_style(FILE *out) {
  fputs("<style>\n", out);
  fputs(colours, out);
  fputs(page, out);
  fputs(tables, out);
  fputs(figures, out);
  for (int i = 0; i < 7; i++) fprintf(out, ".c%d{--c:var(--c%d)}", i, i);
  fputs("\n", out);
  fputs(paper, out);
  fputs("</style>\n", out);
}
