"""Every decision of the product. Pure: snapshots, `now` and chance come in as arguments, reasons go out."""
