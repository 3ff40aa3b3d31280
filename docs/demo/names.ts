// The list of names: chips with a button each, and a field to add more.

export interface NameList {
  readonly names: readonly string[];
  /** Replaces all names. */
  set(names: readonly string[]): void;
  add(texts: readonly string[]): void;
  /** Draws the list again: `text` tells which names occur, `removeLabel` names a button. */
  draw(text: string, removeLabel: (name: string) => string): void;
}

const MOST_NAMES = 500;

/** The forms of a name, which "|" separates. */
const formsOf = (name: string) => name.split("|").map((form) => form.trim());

export function createNameList(list: HTMLElement, onChange: () => void): NameList {
  let names: string[] = [];
  const change = (wanted: readonly string[]) => {
    names = [...new Set(wanted.map((name) => name.trim()).filter((name) => name !== ""))].slice(0, MOST_NAMES);
    onChange();
  };
  return {
    get names() {
      return names;
    },
    set: change,
    add: (texts) => change([...names, ...texts]),
    draw(text, removeLabel) {
      list.replaceChildren(
        ...names.map((name) => {
          const item = document.createElement("li");
          item.classList.toggle("is-absent", !formsOf(name).some((form) => form !== "" && text.includes(form)));
          const remove = document.createElement("button");
          remove.type = "button";
          remove.textContent = "×";
          remove.ariaLabel = removeLabel(name);
          remove.addEventListener("click", () => change(names.filter((one) => one !== name)));
          item.append(name, remove);
          return item;
        }),
      );
    },
  };
}
