import type { ComponentChildren } from "preact";

/** The first column has names, the others numbers or text; a blank one has bars or remarks, and a class of its own. */
type Column = string | { text: string } | { blank: string };

interface ScrollTableProps {
  label: string;
  columns: readonly Column[];
  /** The rows of the body. */
  children: ComponentChildren;
}

/** A table that is scrolled, also by keys, where it is wider than the screen. */
export function ScrollTable({ label, columns, children }: ScrollTableProps) {
  return (
    // biome-ignore lint/a11y/noNoninteractiveTabindex: keys scroll what has the focus
    <section class="scroll-x" tabIndex={0} aria-label={label}>
      <table>
        <thead>
          <tr>
            {columns.map((column, i) => {
              if (typeof column === "object" && "blank" in column) return <td key={i} class={column.blank} />;
              const isNumber = i > 0 && typeof column === "string";
              return (
                <th key={i} scope="col" class={isNumber ? "number" : undefined}>
                  {typeof column === "string" ? column : column.text}
                </th>
              );
            })}
          </tr>
        </thead>
        <tbody>{children}</tbody>
      </table>
    </section>
  );
}
