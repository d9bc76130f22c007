import { createTheme, type CSSVariablesResolver, type MantineColorScheme, type MantineColorSchemeManager, type MantineColorsTuple } from "@mantine/core";

const keel: MantineColorsTuple = ["#e8f1fa", "#cfe1f3", "#a3c6e8", "#74a9dc", "#4a8dcf", "#2a74ba", "#11538f", "#0f4a80", "#0c3d6b", "#082c4f"];

/** The kit's dark surfaces, in the tones of our roles. */
const dark: MantineColorsTuple = ["#e7ecf2", "#b6c1cd", "#a0adbb", "#6f7d8d", "#364352", "#273240", "#121820", "#161d26", "#0e1319", "#0a0e13"];

/** Of buttons that destroy; white text on the shades that are used has 5:1 and more. */
const red: MantineColorsTuple = ["#fdeceb", "#f8d3d1", "#eda6a2", "#e0766f", "#d54f47", "#c2352c", "#b3261e", "#9c1f18", "#861913", "#6d130e"];

export const theme = createTheme({
  colors: { keel, dark, red }, primaryColor: "keel", primaryShade: { light: 6, dark: 5 }, defaultRadius: 7, respectReducedMotion: true, cursorType: "pointer",
  fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif',
  fontSizes: { sm: "14px", md: "14px" }, lineHeights: { sm: "1.5" }, focusRing: "auto",
  headings: { fontWeight: "620" },
});

/** The kit takes its surfaces and texts from our roles. */
export const cssVariables: CSSVariablesResolver = () => {
  const roles = {
    "--mantine-color-body": "var(--k-surface)", "--mantine-color-text": "var(--k-text)", "--mantine-color-dimmed": "var(--k-dim)", "--mantine-color-placeholder": "var(--k-dim)",
    "--mantine-color-default": "var(--k-surface)", "--mantine-color-default-hover": "var(--k-sunken)", "--mantine-color-default-color": "var(--k-text)", "--mantine-color-default-border": "var(--k-border)", "--mantine-color-error": "var(--k-bad)",
  };
  return { variables: {}, light: roles, dark: roles };
};

const key = "keelson-theme";
const wish = new URLSearchParams(location.search).get("theme");
/** ?theme=dark or light fixes the theme, for embedding. */
export const forced = wish === "light" || wish === "dark" ? wish : undefined;

/** Remembers the choice; "auto" follows the system and is the default. */
export const colourScheme: MantineColorSchemeManager = {
  get: (fallback) => {
    try {
      const v = localStorage.getItem(key);
      return v === "light" || v === "dark" || v === "auto" ? v : fallback;
    } catch { return fallback; }
  },
  set: (v: MantineColorScheme) => { try { localStorage.setItem(key, v); } catch { /* private window: lasts as long as the page */ } },
  subscribe: () => undefined,
  unsubscribe: () => undefined,
  clear: () => { try { localStorage.removeItem(key); } catch { /* nothing was kept */ } },
};
