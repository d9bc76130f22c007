import { createRoot } from "react-dom/client";
import { App } from "./app/App";
import "./ui/kit.css";
import "./ui/theme.css";
import "./ui/grid.css";

createRoot(document.getElementById("root")!).render(<App />);
