import Foundation

/// Where a command writes: standard output or standard error, with colours where a person looks on.
struct Terminal {
    enum Color: String {
        case red = "31"
        case green = "32"
        case yellow = "33"
        case cyan = "36"
        case bold = "1"
        case dim = "2"
    }

    static let output = Terminal(descriptor: STDOUT_FILENO)
    static let errors = Terminal(descriptor: STDERR_FILENO)

    private let descriptor: Int32
    /// Whether a person looks on.
    let isInteractive: Bool
    let hasColors: Bool

    private init(descriptor: Int32) {
        self.descriptor = descriptor
        isInteractive = isatty(descriptor) == 1
        let environment = ProcessInfo.processInfo.environment
        // Source: no-color.org.
        let isRefused = !(environment["NO_COLOR"] ?? "").isEmpty || environment["TERM"] == "dumb"
        hasColors = isInteractive && !isRefused
    }

    func paint(_ text: String, _ color: Color) -> String {
        hasColors ? "\u{1B}[\(color.rawValue)m\(text)\u{1B}[0m" : text
    }

    func line(_ text: String) { write(text + "\n") }

    /// Writes all of it; what cannot be written is lost, as the reader is gone.
    func write(_ text: String) {
        var bytes = Array(text.utf8)[...]
        while !bytes.isEmpty {
            let count = bytes.withUnsafeBytes { Foundation.write(descriptor, $0.baseAddress, $0.count) }
            if count < 0 && errno == EINTR { continue }
            guard count > 0 else { return }
            bytes = bytes.dropFirst(count)
        }
    }

    /// Replaces the line that a person sees meanwhile; nothing where nobody looks on.
    func progress(_ text: String) {
        guard isInteractive else { return }
        write("\r\u{1B}[K" + text)
    }
}

extension String {
    /// Without what would move the cursor or change colours: words of proxies and files are shown on terminals.
    var printable: String {
        String(
            String.UnicodeScalarView(
                unicodeScalars.map { scalar in
                    let isControl = scalar.value < 0x20 && scalar != "\n" && scalar != "\t"
                    return isControl || (0x7F...0x9F).contains(scalar.value) ? "\u{FFFD}" : scalar
                }))
    }
}

/// Text in columns, two spaces apart.
struct TextTable {
    private var rows: [[Cell]] = []

    struct Cell {
        var text: String
        var color: Terminal.Color?

        init(_ text: String, _ color: Terminal.Color? = nil) {
            // One line each.
            self.text = String(text.printable.map { $0.isNewline || $0 == "\t" ? " " : $0 })
            self.color = color
        }
    }

    init(_ header: [String]) { rows = [header.map { Cell($0, .bold) }] }

    mutating func add(_ cells: [Cell]) { rows.append(cells) }

    func render(on terminal: Terminal) -> String {
        let count = rows.map(\.count).max() ?? 0
        let widths = (0..<count).map { column in
            rows.map { column < $0.count ? $0[column].text.count : 0 }.max() ?? 0
        }
        var text = ""
        for row in rows {
            var line = ""
            for (column, cell) in row.enumerated() {
                let painted = cell.color.map { terminal.paint(cell.text, $0) } ?? cell.text
                line += painted
                let isLast = row[(column + 1)...].allSatisfy(\.text.isEmpty)
                if isLast { break }
                line += String(repeating: " ", count: widths[column] - cell.text.count + 2)
            }
            text += line + "\n"
        }
        return text
    }
}
