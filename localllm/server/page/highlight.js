// Colours for code: comments, texts, numbers and keywords, the same for all languages but for how comments begin.

const HASH = new Set(["python", "py", "bash", "sh", "shell", "zsh", "ruby", "rb", "yaml", "yml", "toml", "r", "perl", "make", "makefile", "dockerfile", "ini", "conf", "nim", "elixir", "julia"]);
const DASHES = new Set(["sql", "lua", "haskell", "hs", "ada", "vhdl", "elm"]);
const SLASHES = new Set(["js", "javascript", "ts", "typescript", "jsx", "tsx", "c", "cpp", "c++", "h", "hpp", "java", "kotlin", "swift", "go", "rust", "rs", "cs", "csharp", "c#", "php", "scala", "dart", "zig", "css", "scss", "json", "json5", "jsonc", "glsl", "proto"]);
const KEYWORDS = new Set(
  ("abstract and as assert async await begin bool break case catch char class const constexpr continue def default defer del delete do " +
    "double elif else elseif end enum except export extends extern false final finally float fn for foreach from func function global go " +
    "goto if impl implements import in include inline instanceof int interface internal is lambda let local long loop match mod module mut " +
    "namespace new nil none not null of operator or override package pass private protected pub public raise readonly record require return " +
    "select self short signed sizeof static string struct super switch template then this throw throws trait true try type typedef typeof " +
    "undefined union unless unsafe unsigned until use using val var virtual void volatile when where while with yield " +
    "echo done esac fi create table insert into values update set join left right inner outer on group by order limit having primary key " +
    "references alter drop index").split(" "),
);
const MAX_LENGTH = 50_000; // longer code is shown plain: it is likely data

const COMMENTS = [
  [HASH, "#[^\\n]*"],
  [DASHES, "--[^\\n]*|/\\*[^]*?(?:\\*/|$)"],
  [SLASHES, "//[^\\n]*|/\\*[^]*?(?:\\*/|$)"],
];
const TEXTS = "\"\"\"[^]*?(?:\"\"\"|$)|'''[^]*?(?:'''|$)|\"(?:[^\"\\\\\\n]|\\\\[^])*\"?|'(?:[^'\\\\\\n]|\\\\[^])*'?|`(?:[^`\\\\]|\\\\[^])*`?";
const NUMBERS = "\\b(?:0x[\\da-fA-F_]+|\\d[\\d_]*(?:\\.\\d+)?(?:[eE][+-]?\\d+)?)\\w*\\b";
const WORDS = "[\\p{L}_$][\\p{L}\\p{N}_$]*";

/** The code in pieces [kind, text]; kind: "comment", "text", "number", "keyword", or "" for the rest. */
export function highlight(text, language) {
  const comments = COMMENTS.find(([languages]) => languages.has(language.toLowerCase()))?.[1];
  if (!comments || text.length > MAX_LENGTH) return text ? [["", text]] : [];
  const pattern = new RegExp(`(?<comment>${comments})|(?<text>${TEXTS})|(?<number>${NUMBERS})|(?<word>${WORDS})`, "gu");
  const isCaseless = language.toLowerCase() === "sql";
  const pieces = [];
  const add = (kind, piece) => {
    if (piece && pieces.at(-1)?.[0] === kind) pieces.at(-1)[1] += piece;
    else if (piece) pieces.push([kind, piece]);
  };
  let at = 0;
  for (const found of text.matchAll(pattern)) {
    add("", text.slice(at, found.index));
    const { comment, text: quoted, number, word } = found.groups;
    const isKeyword = word !== undefined && KEYWORDS.has(isCaseless || /^[A-Z][a-z]+$/.test(word) ? word.toLowerCase() : word);
    const kind = comment !== undefined ? "comment" : quoted !== undefined ? "text" : number !== undefined ? "number" : isKeyword ? "keyword" : "";
    add(kind, found[0]);
    at = found.index + found[0].length;
  }
  add("", text.slice(at));
  return pieces;
}
