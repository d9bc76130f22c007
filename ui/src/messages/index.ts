/** The words of the interface. Another language is another file of the same shape. */
export { en as m } from "./en";
