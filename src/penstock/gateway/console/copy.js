// A button that copies. Without a clipboard (no secure origin) the text is selected for the reader to copy.

const SHOWN_MS = 1500;

/** `from()`: the element whose text, or value, is copied. */
export function copier(button, from) {
  button.addEventListener("click", async () => {
    const node = from();
    try {
      await navigator.clipboard.writeText(node.value ?? node.textContent);
      button.textContent = "Copied";
    } catch {
      if (node.select) node.select();
      else document.getSelection().selectAllChildren(node);
      button.textContent = "Selected";
    }
    setTimeout(() => { button.textContent = "Copy"; }, SHOWN_MS);
  });
}
