extension Array {
    /// The element that a number falls on, each as wide as its weight. At least one has a weight.
    @inline(__always)
    func chosen(by number: UInt64, of total: UInt64, weight: (Element) -> UInt32) -> Element {
        var left = number % total
        for element in self {
            let width = UInt64(weight(element))
            if left < width { return element }
            left -= width
        }
        return self[count - 1]
    }
}
